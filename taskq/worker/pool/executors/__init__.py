"""What runs tasks in a child: one at a time, or many in threads, coroutines or greenlets."""
