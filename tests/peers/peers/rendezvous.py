"""Which backend longwire's hash gives to a client: the formula of src/balance/rendezvous.rs, in other code."""

import ipaddress
import math

MASK = (1 << 64) - 1


def chosen(client: str, weights: dict[str, int]) -> str:
    """Of backends by `address:port` and their weights, the one with the highest score for this client."""
    key = ipaddress.ip_address(client).packed
    return max(weights, key=lambda backend: score(key + backend.encode(), weights[backend]))


def score(data: bytes, weight: int) -> float:
    return -weight / math.log(((siphash13(data) >> 12) + 0.5) / 2**52)


def siphash13(data: bytes) -> int:
    """SipHash with 1 and 3 rounds, and the key 0."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        state[3] ^= word
        sip_round(state)
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(3):
        sip_round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def sip_round(state: list[int]) -> None:
    a, b, c, d = state
    a = (a + b) & MASK
    b = rotate(b, 13) ^ a
    a = rotate(a, 32)
    c = (c + d) & MASK
    d = rotate(d, 16) ^ c
    a = (a + d) & MASK
    d = rotate(d, 21) ^ a
    c = (c + b) & MASK
    b = rotate(b, 17) ^ c
    c = rotate(c, 32)
    state[:] = a, b, c, d


def rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & MASK
