"""The job edge and the meter side: protocols, profiles, drivers, links, virtual meters."""
