"""The sealed uplink between gateway and cloud: keys, enrolment, sessions, frames, messages. No transport."""
