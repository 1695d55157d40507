"""Scenarios that drive longwire with WebSocket software by others."""
