"""Documents as values, and the templates that turn them into Markdown, LaTeX and HTML."""
