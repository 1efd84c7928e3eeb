/* Who talks to whom on this host: TCP connections, without a cost per packet.
 *
 * The kernel keeps the counters of a connection where it keeps the connection. They are read when a connection
 * closes (`closed`), and of all that are open when somebody reads the iterator (`snapshot`). Sockets are known
 * from when they connect or listen; those that were open before are looked for once (`find`).
 *
 * SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#include "kernel.h"
#include "records.h"

/* The kernel lets only programs under the GPL call some of its helpers. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { AF_INET = 2, AF_INET6 = 10, PROTOCOL_TCP = 6 };
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
/* Of `skc_flags`: the other side has sent its FIN (`SOCK_DONE` of net/sock.h). */
enum { FLAG_DONE = 1 << 1 };

/* The one network namespace whose sockets count, by its inode; 0 for all. Set when the program is loaded. */
const volatile u32 only_netns = 0;

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

INLINE void own(struct known *known) {
    known->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(known->comm, sizeof known->comm);
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
    record->padding[0] = record->padding[1] = record->padding[2] = 0;
    __builtin_memcpy(record->comm, known->comm, sizeof record->comm);
}

/* Adds what was counted since it was last told of. */
INLINE void unattributed(struct sock *sk, struct tcp_sock *tcp, struct known *known) {
    struct losses *losses = lost();
    if (!losses)
        return;
    struct sums *sums = &losses->unattributed;
    sums->sockets += 1;
    sums->bytes_sent += tcp->bytes_sent - known->told.bytes_sent;
    sums->bytes_retransmitted += tcp->bytes_retrans - known->told.bytes_retransmitted;
    /* A FIN may have been told as a byte before it was known to be one. */
    u64 bytes = received(sk, tcp);
    if (bytes > known->told.bytes_received)
        sums->bytes_received += bytes - known->told.bytes_received;
    sums->packets_sent += (u32)(tcp->segs_out - (u32)known->told.packets_sent);
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
        record->closed = bpf_ktime_get_ns();
        record->state = state;
        int error = sk->sk_err;
        record->error = error ? error : sk->sk_err_soft;
        bpf_ringbuf_submit(record, RING_NO_WAKEUP);
    } else {
        unattributed(sk, tcp, known);
    }
    /* The socket may connect anew. */
    __builtin_memset(known, 0, sizeof *known);
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
        if (before == SYN_RECV && known->origin == ORIGIN_LISTENING) {
            known->opened = known->established;
            known->origin = ORIGIN_ACCEPTED;
            known->owned = 0;
        }
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

SEC("iter/bpf_sk_storage_map")
int snapshot(struct bpf_iter__bpf_sk_storage_map *context) {
    struct sock *sk = context->sk;
    struct known *known = context->value;
    if (!sk || !known || !known->origin)
        return 0;
    struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
    if (!tcp)
        return 0;
    struct record record = {};
    describe(&record, sk, tcp, known);
    record.state = sk->__sk_common.skc_state;
    /* Between its end and its being wiped, it has been told of. */
    if (record.state == CLOSE)
        return 0;
    /* Without room the kernel comes again with the same socket. */
    if (bpf_seq_write(context->meta->seq, &record, sizeof record))
        return 0;
    told(&record, known);
    return 0;
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
    if (!sk || sk->sk_protocol != PROTOCOL_TCP || is_elsewhere(sk))
        return 0;
    u16 family = sk->__sk_common.skc_family;
    if (family != AF_INET && family != AF_INET6)
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
    bpf_probe_read_kernel(known->comm, sizeof known->comm, task->group_leader->comm);
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
