"""Just enough of RFC 6455 for thousands of idle sessions in one process: control frames and short messages."""

PING, PONG, CLOSE, TEXT = 9, 10, 8, 1


def take_frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Removes the complete frames (opcode, unmasked payload) from the buffer's front."""
    frames = []
    while len(buffer) >= 2:
        masked, length = buffer[1] & 0x80, buffer[1] & 0x7F
        start = 6 if masked else 2
        if length > 125:
            raise ValueError(f"a frame of more than 125 bytes: {bytes(buffer[:10])!r}")
        if len(buffer) < start + length:
            break
        payload = bytes(buffer[start : start + length])
        if masked:
            mask = bytes(buffer[2:6])
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        frames.append((buffer[0] & 0x0F, payload))
        del buffer[: start + length]
    return frames


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """A final frame; masked with zeros, which leave the payload as it is."""
    mask = b"\0\0\0\0" if masked else b""
    return bytes([0x80 | opcode, (0x80 if masked else 0) | len(payload)]) + mask + payload
