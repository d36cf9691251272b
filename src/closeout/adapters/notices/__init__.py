"""Messages to people and to other systems: mail by SMTP or into a folder, signed webhooks, and their wording."""
