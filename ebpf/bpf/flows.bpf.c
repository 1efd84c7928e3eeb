/* Who talks to whom on this host: TCP connections, without a cost per packet, and what goes over UDP.
 *
 * The kernel keeps the counters of a connection where it keeps the connection. They are read when a connection
 * closes (`closed`), and of all that are open when somebody reads the iterator (`snapshot`). Sockets are known
 * from when they connect or listen; those that were open before are looked for once (`find`).
 *
 * Of UDP the kernel counts nothing, so each packet is (`on_received`, `on_sent`), by socket and peer.
 *
 * SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#include "kernel.h"
#include "records.h"

/* The kernel lets only programs under the GPL call some of its helpers. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { AF_INET = 2, AF_INET6 = 10, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
/* linux/tcp_states.h */
enum {
    ESTABLISHED = 1,
    SYN_SENT = 2,
    SYN_RECV = 3,
    FIN_WAIT1 = 4,
    FIN_WAIT2 = 5,
    TIME_WAIT = 6,
    CLOSE = 7,
    CLOSE_WAIT = 8,
    LAST_ACK = 9,
    LISTEN = 10,
    CLOSING = 11,
};
/* Of `skc_flags`: nobody holds it, and the other side has sent its FIN (`SOCK_DEAD`, `SOCK_DONE` of net/sock.h). */
enum { FLAG_DEAD = 1 << 0, FLAG_DONE = 1 << 1 };

/* The one network namespace whose sockets count, by its inode; 0 for all. Set when the program is loaded. */
const volatile u32 only_netns = 0;
/* Whether UDP counts. */
const volatile u8 counts_udp = 1;

/* What is known of a socket. */
struct known {
    u64 opened;
    u64 established;
    u32 pid;
    u8 origin;
    /* Whether `pid` is of who opened or closed it. */
    u8 owned;
    u8 padding[2];
    char comm[COMM_BYTES];
    /* As far as it was told of. */
    struct sums told;
};

struct {
    UINT(type, MAP_TYPE_SK_STORAGE);
    UINT(map_flags, MAP_NO_PREALLOC | MAP_CLONE);
    TYPE(key, int);
    TYPE(value, struct known);
} sockets SEC(".maps");

struct {
    UINT(type, MAP_TYPE_RINGBUF);
    UINT(max_entries, 4 << 20);
} closings SEC(".maps");

struct {
    UINT(type, MAP_TYPE_PERCPU_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct losses);
} losses SEC(".maps");

INLINE int is_elsewhere(struct sock *sk) {
    return only_netns && sk->__sk_common.skc_net.net->ns.inum != only_netns;
}

INLINE struct losses *lost(void) {
    u32 first = 0;
    return bpf_map_lookup_elem(&losses, &first);
}

/* A thread may have a name of its own: the process has that of its first one. */
INLINE void name_of(struct task_struct *task, char *comm) {
    /* Where the kernel is locked down no helper reads its memory; what it gives pointers to may be read as it is. */
    u64 *name = (u64 *)task->group_leader->comm;
    u64 words[] = {name[0], name[1]};
    __builtin_memcpy(comm, words, COMM_BYTES);
}

INLINE void own(struct known *known) {
    struct task_struct *task = bpf_get_current_task_btf();
    known->pid = task->tgid;
    name_of(task, known->comm);
    known->owned = 1;
}

/* IPv4 as IPv6 has it. */
INLINE void addresses(struct record *record, struct sock *sk) {
    if (sk->__sk_common.skc_family == AF_INET6) {
        for (int i = 0; i < 4; i++) {
            record->local[i] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i];
            record->remote[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
        }
        return;
    }
    record->local[0] = record->local[1] = record->remote[0] = record->remote[1] = 0;
    record->local[2] = record->remote[2] = __builtin_bswap32(0xffff);
    record->local[3] = sk->__sk_common.skc_rcv_saddr;
    record->remote[3] = sk->__sk_common.skc_daddr;
}

/* The kernel counts the FIN as a byte. */
INLINE u64 received(struct sock *sk, struct tcp_sock *tcp) {
    u64 bytes = tcp->bytes_received;
    return sk->__sk_common.skc_flags & FLAG_DONE && bytes ? bytes - 1 : bytes;
}

/* All of a record but how it ended. */
INLINE void describe(struct record *record, struct sock *sk, struct tcp_sock *tcp, struct known *known) {
    record->cookie = bpf_get_socket_cookie(sk);
    record->cgroup = sk->sk_cgrp_data.cgroup->kn->id;
    record->netns = sk->__sk_common.skc_net.net->ns.inum;
    addresses(record, sk);
    record->local_port = __builtin_bswap16(tcp->inet_conn.icsk_inet.inet_sport);
    record->remote_port = __builtin_bswap16(sk->__sk_common.skc_dport);
    record->bytes_sent = tcp->bytes_sent;
    record->bytes_retransmitted = tcp->bytes_retrans;
    record->bytes_received = received(sk, tcp);
    record->packets_sent = tcp->segs_out;
    record->packets_received = tcp->segs_in;
    record->retransmits = tcp->total_retrans;
    record->srtt_us = tcp->srtt_us >> 3;
    record->mdev_us = tcp->mdev_us >> 2;
    record->active = tcp->tcp_mstamp * 1000;
    record->opened = known->opened;
    record->established = known->established;
    record->pid = known->pid;
    record->origin = known->origin;
    record->owned = known->owned;
    record->closed = 0;
    record->error = 0;
    record->protocol = PROTOCOL_TCP;
    record->padding[0] = record->padding[1] = 0;
    __builtin_memcpy(record->comm, known->comm, sizeof record->comm);
}

/* Whoever closes with bytes that nobody has read, or without lingering, sends a reset after the connection has ended
 * (`__tcp_close` and `tcp_disconnect` of net/ipv4/tcp.c). All other ways out of these states have an error; and who
 * waits for the other side's FIN has it, or nobody holds the socket any more. */
INLINE int resets(struct sock *sk, int state) {
    if (sk->sk_err)
        return 0;
    if (state == FIN_WAIT2)
        return !(sk->__sk_common.skc_flags & (FLAG_DEAD | FLAG_DONE));
    return state == ESTABLISHED || state == CLOSE_WAIT || state == FIN_WAIT1;
}

/* Adds what was counted since it was last told of. */
INLINE void unattributed(struct sock *sk, struct tcp_sock *tcp, struct known *known, int state) {
    struct losses *losses = lost();
    if (!losses)
        return;
    struct sums *sums = &losses->tcp;
    sums->sockets += 1;
    sums->bytes_sent += tcp->bytes_sent - known->told.bytes_sent;
    sums->bytes_retransmitted += tcp->bytes_retrans - known->told.bytes_retransmitted;
    /* A FIN may have been told as a byte before it was known to be one. */
    u64 bytes = received(sk, tcp);
    if (bytes > known->told.bytes_received)
        sums->bytes_received += bytes - known->told.bytes_received;
    sums->packets_sent += (u32)(tcp->segs_out - (u32)known->told.packets_sent) + resets(sk, state);
    sums->packets_received += (u32)(tcp->segs_in - (u32)known->told.packets_received);
    sums->retransmits += (u32)(tcp->total_retrans - (u32)known->told.retransmits);
}

INLINE void told(struct record *record, struct known *known) {
    known->told.bytes_sent = record->bytes_sent;
    known->told.bytes_retransmitted = record->bytes_retransmitted;
    known->told.bytes_received = record->bytes_received;
    known->told.packets_sent = record->packets_sent;
    known->told.packets_received = record->packets_received;
    known->told.retransmits = record->retransmits;
}

/* A connection has ended. Told now: a connect that failed is wiped before its socket goes. */
INLINE void closed(struct sock *sk, struct known *known, int state) {
    struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
    if (!tcp)
        return;
    struct record *record = bpf_ringbuf_reserve(&closings, sizeof *record, 0);
    if (record) {
        describe(record, sk, tcp, known);
        int is_reset = resets(sk, state);
        record->packets_sent += is_reset;
        record->closed = bpf_ktime_get_ns();
        /* In that state others have ended as they should. */
        record->state = is_reset && state == FIN_WAIT2 ? FIN_WAIT1 : state;
        int error = sk->sk_err;
        record->error = error ? error : sk->sk_err_soft;
        bpf_ringbuf_submit(record, RING_NO_WAKEUP);
    } else {
        unattributed(sk, tcp, known, state);
    }
    /* The socket may connect anew. */
    __builtin_memset(known, 0, sizeof *known);
}

/* It has what is known of who listens, until it is known who accepts. */
INLINE void accepted(struct known *known) {
    known->opened = known->established = bpf_ktime_get_ns();
    known->origin = ORIGIN_ACCEPTED;
    known->owned = 0;
}

SEC("tp_btf/inet_sock_set_state")
int on_state(u64 *context) {
    struct sock *sk = (void *)context[0];
    int before = (int)context[1], now = (int)context[2];
    if (sk->sk_protocol != PROTOCOL_TCP || is_elsewhere(sk))
        return 0;
    /* Nothing is learnt from where a connection is while it ends. */
    if (now == SYN_RECV || now == FIN_WAIT2 || now == TIME_WAIT || now == CLOSE_WAIT || now == CLOSING)
        return 0;
    int is_new = now == SYN_SENT || now == LISTEN;
    struct known *known = bpf_sk_storage_get(&sockets, sk, 0, is_new ? SK_STORAGE_CREATE : 0);
    if (!known) {
        struct losses *losses = lost();
        if (!losses)
            return 0;
        if (is_new)
            losses->no_memory += 1;
        else if (now == CLOSE && before != LISTEN)
            losses->unknown += 1;
        return 0;
    }
    /* That it was accepted may have been missed. */
    if (known->origin == ORIGIN_LISTENING && before != LISTEN && before != SYN_RECV && !is_new)
        accepted(known);
    switch (now) {
    /* Whoever calls connect, listen, shutdown or close is the task that runs. */
    case SYN_SENT:
        __builtin_memset(known, 0, sizeof *known);
        known->opened = bpf_ktime_get_ns();
        known->origin = ORIGIN_CONNECTED;
        own(known);
        break;
    case LISTEN:
        known->opened = bpf_ktime_get_ns();
        known->origin = ORIGIN_LISTENING;
        own(known);
        break;
    case ESTABLISHED:
        known->established = bpf_ktime_get_ns();
        if (before == SYN_RECV && known->origin == ORIGIN_LISTENING)
            accepted(known);
        break;
    case FIN_WAIT1:
    case LAST_ACK:
        /* Of a server that forks, who accepted it is who closes it. */
        if (!known->owned)
            own(known);
        break;
    case CLOSE:
        if (known->origin && known->origin != ORIGIN_LISTENING)
            closed(sk, known, before);
        break;
    }
    return 0;
}

/* The kernel does not run a program that runs already on the same CPU: an end that interrupts another one is not told
 * above. Most sockets that come here have been told of. */
SEC("tp_btf/tcp_destroy_sock")
int on_destroy(u64 *context) {
    struct sock *sk = (void *)context[0];
    if (is_elsewhere(sk))
        return 0;
    struct known *known = bpf_sk_storage_get(&sockets, sk, 0, 0);
    if (!known || !known->origin || known->origin == ORIGIN_LISTENING)
        return 0;
    /* How it ended is not known, but whether both sides did. */
    if (!known->established)
        closed(sk, known, SYN_SENT);
    else
        closed(sk, known, sk->__sk_common.skc_flags & FLAG_DONE ? LAST_ACK : CLOSE);
    return 0;
}

SEC("iter/bpf_sk_storage_map")
int snapshot(struct bpf_iter__bpf_sk_storage_map *context) {
    struct sock *sk = context->sk;
    struct known *known = context->value;
    if (!sk || !known || !known->origin)
        return 0;
    struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
    if (!tcp)
        return 0;
    int state = sk->__sk_common.skc_state;
    if (known->origin == ORIGIN_LISTENING && state != LISTEN && state != SYN_RECV && state != CLOSE)
        accepted(known);
    struct record record = {};
    describe(&record, sk, tcp, known);
    record.state = state;
    /* Between its end and its being wiped, it has been told of. */
    if (record.state == CLOSE)
        return 0;
    /* Without room the kernel comes again with the same socket. */
    if (bpf_seq_write(context->meta->seq, &record, sizeof record))
        return 0;
    told(&record, known);
    return 0;
}

/* Whose a UDP socket is. */
struct owner {
    u32 pid;
    u32 netns;
    /* Not 0 once all of this is there. */
    u32 ready;
    /* Whether it was open before the program started. */
    u8 found;
    char comm[COMM_BYTES];
};

struct {
    UINT(type, MAP_TYPE_SK_STORAGE);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, int);
    TYPE(value, struct owner);
} owners SEC(".maps");

struct {
    UINT(type, MAP_TYPE_HASH);
    UINT(max_entries, 1 << 16);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, struct peer_key);
    TYPE(value, struct peer);
} peers SEC(".maps");

/* Whoever opens a socket is the task that runs. */
SEC("cgroup/sock_create")
int on_create(struct bpf_sock *sk) {
    if (sk->protocol != PROTOCOL_UDP)
        return 1;
    struct owner *owner = bpf_sk_storage_get(&owners, sk, 0, SK_STORAGE_CREATE);
    if (!owner)
        return 1;
    struct task_struct *task = bpf_get_current_task_btf();
    owner->pid = task->tgid;
    owner->netns = task->nsproxy->net_ns->ns.inum;
    owner->found = 0;
    name_of(task, owner->comm);
    __sync_fetch_and_add(&owner->ready, 1);
    return 1;
}

/* The packet's headers, as far as they are looked at. */
struct headers {
    u32 source[4];
    u32 destination[4];
    u16 source_port;
    u16 destination_port;
    /* Of all headers, up to the payload. */
    u32 bytes;
};

/* 0 if it is no UDP; one that comes in pieces has been put together. */
INLINE int headers_of(struct __sk_buff *packet, struct headers *headers) {
    u8 *data = (void *)(u64)packet->data, *end = (void *)(u64)packet->data_end;
    /* As short as it can be. Both IP headers have their version in the first byte. */
    if (data + 28 > end)
        return 0;
    u8 *udp;
    if (data[0] >> 4 == 4) {
        if (data[9] != PROTOCOL_UDP)
            return 0;
        headers->source[0] = headers->source[1] = headers->destination[0] = headers->destination[1] = 0;
        headers->source[2] = headers->destination[2] = __builtin_bswap32(0xffff);
        headers->source[3] = *(u32 *)(data + 12);
        headers->destination[3] = *(u32 *)(data + 16);
        headers->bytes = (data[0] & 15) * 4 + 8;
        udp = data + (data[0] & 15) * 4;
    } else {
        if (data + 48 > end || data[6] != PROTOCOL_UDP)
            return 0;
        __builtin_memcpy(headers->source, data + 8, 16);
        __builtin_memcpy(headers->destination, data + 24, 16);
        headers->bytes = 48;
        udp = data + 40;
    }
    if (udp + 8 > end)
        return 0;
    headers->source_port = __builtin_bswap16(*(u16 *)udp);
    headers->destination_port = __builtin_bswap16(*(u16 *)(udp + 2));
    return 1;
}

INLINE void own_peer(struct peer *peer, struct bpf_sock *sk) {
    struct owner *owner = bpf_sk_storage_get(&owners, sk, 0, 0);
    /* Every socket that was opened since has one. */
    if (!owner)
        peer->origin = ORIGIN_FOUND;
    if (!owner || !owner->ready)
        return;
    peer->pid = owner->pid;
    peer->netns = owner->netns;
    __builtin_memcpy(peer->comm, owner->comm, sizeof peer->comm);
    if (owner->found)
        peer->origin = ORIGIN_FOUND;
    peer->owned = 1;
}

INLINE void add(struct peer *peer, int is_sent, u64 packets, u64 bytes) {
    if (is_sent) {
        __sync_fetch_and_add(&peer->packets_sent, packets);
        __sync_fetch_and_add(&peer->bytes_sent, bytes);
    } else {
        __sync_fetch_and_add(&peer->packets_received, packets);
        __sync_fetch_and_add(&peer->bytes_received, bytes);
    }
}

INLINE int count(struct __sk_buff *packet, int is_sent) {
    struct headers headers;
    if (!headers_of(packet, &headers))
        return 1;
    struct bpf_sock *sk = packet->sk;
    if (!sk)
        return 1;
    struct peer_key key = {};
    key.cookie = bpf_get_socket_cookie(packet);
    __builtin_memcpy(key.remote, is_sent ? headers.destination : headers.source, sizeof key.remote);
    __builtin_memcpy(key.local, is_sent ? headers.source : headers.destination, sizeof key.local);
    key.remote_port = is_sent ? headers.destination_port : headers.source_port;
    /* Of segments that travel as one, each has headers of its own later. */
    u64 packets = packet->gso_segs ? packet->gso_segs : 1;
    u64 bytes = packet->len - headers.bytes;
    struct peer *peer = bpf_map_lookup_elem(&peers, &key);
    if (!peer) {
        struct peer new = {};
        own_peer(&new, sk);
        if (only_netns && new.netns != only_netns)
            return 1;
        new.first = bpf_ktime_get_ns();
        new.cgroup = bpf_skb_cgroup_id(packet);
        new.local_port = is_sent ? headers.source_port : headers.destination_port;
        if (!new.origin)
            new.origin = is_sent ? ORIGIN_CONNECTED : ORIGIN_ACCEPTED;
        struct losses *losses = lost();
        if (!losses)
            return 1;
        if (!bpf_map_update_elem(&peers, &key, &new, MAP_NOEXIST))
            losses->peers += 1;
        peer = bpf_map_lookup_elem(&peers, &key);
        if (!peer) {
            losses->udp.sockets += 1;
            if (is_sent) {
                losses->udp.packets_sent += packets;
                losses->udp.bytes_sent += bytes;
            } else {
                losses->udp.packets_received += packets;
                losses->udp.bytes_received += bytes;
            }
            return 1;
        }
    } else if (!peer->owned) {
        own_peer(peer, sk);
    }
    add(peer, is_sent, packets, bytes);
    /* Up to a tick ago, for a third of what the precise time costs. */
    peer->active = bpf_ktime_get_coarse_ns();
    return 1;
}

SEC("cgroup_skb/ingress")
int on_received(struct __sk_buff *packet) {
    return count(packet, 0);
}

SEC("cgroup_skb/egress")
int on_sent(struct __sk_buff *packet) {
    return count(packet, 1);
}

SEC("iter/bpf_map_elem")
int snapshot_udp(struct bpf_iter__bpf_map_elem *context) {
    struct peer_key *key = context->key;
    struct peer *peer = context->value;
    if (!key || !peer)
        return 0;
    struct record record = {};
    record.cookie = key->cookie;
    record.cgroup = peer->cgroup;
    record.opened = peer->first;
    record.active = peer->active;
    record.bytes_sent = peer->bytes_sent;
    record.bytes_received = peer->bytes_received;
    record.packets_sent = peer->packets_sent;
    record.packets_received = peer->packets_received;
    record.netns = peer->netns;
    record.pid = peer->pid;
    __builtin_memcpy(record.local, key->local, sizeof record.local);
    __builtin_memcpy(record.remote, key->remote, sizeof record.remote);
    record.local_port = peer->local_port;
    record.remote_port = key->remote_port;
    record.origin = peer->origin;
    record.owned = peer->owned;
    record.protocol = PROTOCOL_UDP;
    __builtin_memcpy(record.comm, peer->comm, sizeof record.comm);
    bpf_seq_write(context->meta->seq, &record, sizeof record);
    return 0;
}

INLINE void find_udp(struct sock *sk, struct task_struct *task) {
    struct owner *owner = bpf_sk_storage_get(&owners, sk, 0, SK_STORAGE_CREATE);
    if (!owner || owner->pid)
        return;
    owner->pid = task->tgid;
    owner->netns = sk->__sk_common.skc_net.net->ns.inum;
    owner->found = 1;
    name_of(task, owner->comm);
    __sync_fetch_and_add(&owner->ready, 1);
}

SEC("iter/task_file")
int find(struct bpf_iter__task_file *context) {
    struct file *file = context->file;
    struct task_struct *task = context->task;
    if (!file || !task)
        return 0;
    struct socket *socket = bpf_sock_from_file(file);
    if (!socket)
        return 0;
    struct sock *sk = socket->sk;
    if (!sk || is_elsewhere(sk))
        return 0;
    u16 family = sk->__sk_common.skc_family;
    if (family != AF_INET && family != AF_INET6)
        return 0;
    if (sk->sk_protocol == PROTOCOL_UDP && counts_udp)
        find_udp(sk, task);
    if (sk->sk_protocol != PROTOCOL_TCP)
        return 0;
    u8 state = sk->__sk_common.skc_state;
    if (state == CLOSE)
        return 0;
    struct known *known = bpf_sk_storage_get(&sockets, sk, 0, SK_STORAGE_CREATE);
    if (!known) {
        struct losses *losses = lost();
        if (losses)
            losses->no_memory += 1;
        return 0;
    }
    if (known->owned)
        return 0;
    known->pid = task->tgid;
    name_of(task, known->comm);
    known->owned = 1;
    if (known->origin)
        return 0;
    known->origin = state == LISTEN ? ORIGIN_LISTENING : ORIGIN_FOUND;
    /* What it had counted before is told, so that it can be taken off. */
    struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
    if (!tcp)
        return 0;
    struct record record = {};
    describe(&record, sk, tcp, known);
    record.state = state;
    if (bpf_seq_write(context->meta->seq, &record, sizeof record)) {
        known->owned = known->origin = 0;
        return 0;
    }
    told(&record, known);
    return 0;
}

/* What it costs to be called, as the kernel measures it: what the others cost is more than this. */
SEC("cgroup_skb/egress")
int nothing(struct __sk_buff *packet) {
    return 1;
}
