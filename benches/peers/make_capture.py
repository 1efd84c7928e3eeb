#!/usr/bin/env python3
"""Makes a large capture out of small ones: copies interleaved in time, each with addresses of its own.

    make_capture.py OUT.pcap PACKETS COPIES CAPTURE...

Reads classic little-endian Ethernet captures. Per copy k, the lower address of each IPv4 pair gets
+k and the higher one -k in its low 16 bits, so that checksums stay right and both directions still
match; every round shifts the time by a minute.
"""
import struct
import sys


def packets(path):
    data = open(path, "rb").read()
    if data[:4] != b"\xd4\xc3\xb2\xa1" or struct.unpack("<I", data[20:24])[0] & 0xFFFF != 1:
        return
    at, first = 24, None
    while at + 16 <= len(data):
        seconds, micros, length, wire = struct.unpack("<IIII", data[at:at + 16])
        frame = data[at + 16:at + 16 + length]
        at += 16 + length
        if len(frame) < 34 or frame[12:14] != b"\x08\x00":
            continue
        time = seconds * 1_000_000 + micros
        first = time if first is None else first
        # One minute a round: longer captures are folded into it.
        yield (time - first) % 60_000_000, wire, frame


def shifted(frame, copy):
    low = frame[26:30] < frame[30:34]
    a, b = struct.unpack(">H", frame[28:30])[0], struct.unpack(">H", frame[32:34])[0]
    up, down = (lambda v: (v + copy) & 0xFFFF), (lambda v: (v - copy) & 0xFFFF)
    a, b = (up(a), down(b)) if low else (down(a), up(b))
    return frame[:28] + struct.pack(">H", a) + frame[30:32] + struct.pack(">H", b) + frame[34:]


def main():
    out, wanted, copies = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    base = sorted((p for path in sys.argv[4:] for p in packets(path)), key=lambda p: p[0])
    with open(out, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        written = rounds = 0
        while written < wanted:
            shift = 1_700_000_000_000_000 + rounds * 60_000_000
            chunk = bytearray()
            for time, wire, frame in base:
                at = shift + time
                head = struct.pack("<IIII", at // 1_000_000, at % 1_000_000, len(frame), wire)
                for copy in range(copies):
                    chunk += head
                    chunk += shifted(frame, copy * 7 + 1 + rounds * copies * 7)
                written += copies
                if written >= wanted:
                    break
            file.write(chunk)
            rounds += 1
    print(f"{written} packets of {len(base)} different ones, {rounds} rounds")


main()
