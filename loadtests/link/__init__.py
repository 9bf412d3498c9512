"""A WIDE-AREA LINK ON LOOPBACK: a relay, in a process of its own, that is slow, distant and unreliable as told."""
