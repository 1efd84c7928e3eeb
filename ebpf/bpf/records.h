/* What the program tells, as src/records.rs reads it. */
#pragma once

/* How a socket came to be known. */
enum origin {
    ORIGIN_CONNECTED = 1,
    ORIGIN_ACCEPTED = 2,
    ORIGIN_LISTENING = 3,
    /* It was open before the program started. */
    ORIGIN_FOUND = 4,
};

enum { COMM_BYTES = 16 };

/* A TCP socket with its counters since it was opened, or what a UDP socket has had with one peer since its first
 * packet. Times are of CLOCK_MONOTONIC, in nanoseconds. */
struct record {
    u64 cookie;
    u64 cgroup;
    /* When it connected, was accepted or had its first packet; 0 where that was before the program started. */
    u64 opened;
    u64 established;
    /* 0 as long as it is open. */
    u64 closed;
    /* When the last packet came or went. */
    u64 active;
    /* Payload, re-sent bytes included. */
    u64 bytes_sent;
    u64 bytes_retransmitted;
    u64 bytes_received;
    u32 packets_sent;
    u32 packets_received;
    u32 retransmits;
    u32 srtt_us;
    u32 mdev_us;
    u32 netns;
    u32 pid;
    /* IPv4 addresses are mapped. In the network's order. */
    u32 local[4];
    u32 remote[4];
    u16 local_port;
    u16 remote_port;
    /* An errno, if it ended with one. */
    u16 error;
    u8 origin;
    /* Of TCP, as in linux/tcp_states.h: the last one that was not closed; 0 of UDP. */
    u8 state;
    /* Whether whoever opened it is who is told of, and not who listened. */
    u8 owned;
    /* Of IP: 6 for TCP, 17 for UDP. */
    u8 protocol;
    u8 padding[2];
    char comm[COMM_BYTES];
};
_Static_assert(sizeof(struct record) == 160, "src/records.rs has the same");

/* A UDP socket and a peer of it, by the address that the peer knows it by. */
struct peer_key {
    u64 cookie;
    u32 remote[4];
    u32 local[4];
    u16 remote_port;
    u16 padding[3];
};
_Static_assert(sizeof(struct peer_key) == 48, "src/records.rs has the same");

/* What they have had with each other: payload and packets. */
struct peer {
    u64 bytes_sent;
    u64 bytes_received;
    u64 packets_sent;
    u64 packets_received;
    u64 first;
    u64 active;
    u64 cgroup;
    u32 netns;
    u32 pid;
    u16 local_port;
    u8 origin;
    /* Whether its owner is known, which is all of it from there on. */
    u8 owned;
    char comm[COMM_BYTES];
};
_Static_assert(sizeof(struct peer) == 88, "src/records.rs has the same");

/* What was counted and could not be told apart, because there was no room: in the ring, or for another peer. */
struct sums {
    u64 sockets;
    u64 bytes_sent;
    u64 bytes_retransmitted;
    u64 bytes_received;
    u64 packets_sent;
    u64 packets_received;
    u64 retransmits;
};

/* Every way to lose something, on each CPU. */
struct losses {
    struct sums tcp;
    struct sums udp;
    /* Sockets for which there was no memory. */
    u64 no_memory;
    /* Sockets that closed and were never known. */
    u64 unknown;
    /* Peers of UDP sockets that there was room for. */
    u64 peers;
};
_Static_assert(sizeof(struct losses) == 136, "src/records.rs has the same");
