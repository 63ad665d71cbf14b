"""Tables, figures and the comparison with the paper: pure functions of the metrics. No torch here."""
