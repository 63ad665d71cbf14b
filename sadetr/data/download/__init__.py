"""Fetching the official files: transfers continue where they broke off, archives cannot write beside their target."""
