"""The room of verbs: parse, call a room, print."""
