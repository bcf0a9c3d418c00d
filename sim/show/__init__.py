"""What people see: figures, the report, and tables in the terminal."""
