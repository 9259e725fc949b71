"""Reports: pages and lists for people, made from tables."""
