"""What a target would take (runs, hours, disk, memory), from recorded benchmark lines. Free of torch."""
