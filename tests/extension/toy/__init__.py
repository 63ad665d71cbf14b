"""A method outside sadetr, as docs/adding_a_method.md describes one."""
