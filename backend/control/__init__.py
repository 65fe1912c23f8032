"""Orders to meters with their own life: vends now, switching and settings with them (C8-C10, C19-C23)."""
