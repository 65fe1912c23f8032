"""Lines that somebody dials in on: DTUs, Acrel 4G meters, Acrel gateways.

A protocol here is pure (bytes in, events out, bytes out); `listener` accepts and registers, `line` holds
what is registered and lends it to one user at a time. Nothing here knows the database: who may dial in
is asked through `ports.Directory`, what happened is told to `ports.Watch`.
"""
