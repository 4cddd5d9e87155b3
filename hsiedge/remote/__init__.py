"""Another machine, over the user's own ssh."""
