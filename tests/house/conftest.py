"""Bad samples are food for the checkers, not tests of ours."""

collect_ignore = ["bad"]
