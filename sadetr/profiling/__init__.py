"""Where the time of a training goes, measured from outside: the loop and the methods know nothing of it."""
