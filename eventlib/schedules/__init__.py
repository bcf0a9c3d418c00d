"""Schedules: tasks that run at given times. What is kept of one, who decides about its slots, what operators may do."""
