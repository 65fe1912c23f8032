"""The agent on site: polls its buses, keeps readings through an outage, sends them sealed, does commands."""
