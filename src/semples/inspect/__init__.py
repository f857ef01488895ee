"""Looks at a finished or half finished run, or at the machine; changes nothing."""
