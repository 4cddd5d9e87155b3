"""Facts, energy and memory of the machine that this runs on."""
