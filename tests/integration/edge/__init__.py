"""The edge in front of an app: a real nginx with deploy/nginx."""
