"""The fan's page in a real Chromium, against a real api, worker, Valkey and Postgres."""
