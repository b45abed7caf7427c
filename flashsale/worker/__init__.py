"""The worker process: outbox to Postgres, expiry, returns, and keeping the buckets level with the plan."""
