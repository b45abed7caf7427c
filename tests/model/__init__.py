"""The model walk: random verbs against a real server and a small model, compared after each step."""
