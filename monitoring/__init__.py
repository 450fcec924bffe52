"""Prometheus rules and Grafana dashboards for a box; how they are taken into use is in docs/monitoring.md."""
