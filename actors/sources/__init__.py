"""NSQ's two ends: the fast reader of plays, and an embedded nsqd for a machine without one."""
