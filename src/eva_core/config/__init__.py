"""From words and YAML to what is built."""
