"""One execution of anything long: a directory, live numbers, a job that survives."""
