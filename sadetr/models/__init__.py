"""Methods: one module (or package) each; none is imported by name outside its configuration file."""
