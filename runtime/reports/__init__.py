"""What people read and send back: table, summary, page, corrections."""
