"""The machine that this runs on."""
