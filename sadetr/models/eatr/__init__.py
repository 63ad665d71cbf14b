"""EaTR (Jang, Park, Kim, Kwon, Sohn, ICCV 2023)."""
