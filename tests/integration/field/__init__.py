"""The meter side over real sockets: virtual site, links, lanes, drivers."""
