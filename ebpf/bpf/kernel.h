/* What the program reads of the kernel's own structures, and of the BPF interface.
 *
 * Only the members that are used stand here: where they are is found out when the program is loaded, from the
 * kernel's own types (CO-RE). So no kernel headers are needed, and one object serves every kernel. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* How a map is described: sizes as lengths of arrays, types as pointers. */
#define UINT(name, value) int (*name)[value]
#define TYPE(name, value) typeof(value) *name

enum {
    MAP_TYPE_HASH = 1,
    MAP_TYPE_PERCPU_ARRAY = 6,
    MAP_TYPE_SK_STORAGE = 24,
    MAP_TYPE_RINGBUF = 27,
};
enum {
    MAP_NO_PREALLOC = 1,
    /* A connection inherits what is known of the socket that it was accepted on. */
    MAP_CLONE = 1 << 9,
};
enum { SK_STORAGE_CREATE = 1 };
enum { MAP_NOEXIST = 1 };
/* Nobody is woken: the ring is looked at now and then. */
enum { RING_NO_WAKEUP = 1 };

/* A packet as programs of a cgroup see it (linux/bpf.h): the same in every kernel. */
struct __sk_buff {
    u32 len;
    u32 before_protocol[3];
    u32 protocol;
    u32 before_data[14];
    u32 data;
    u32 data_end;
    u32 before_gso_segs[20];
    u32 gso_segs;
    union {
        struct bpf_sock *sk;
        u64 : 64;
    } __attribute__((aligned(8)));
};
/* A socket as these see it. */
struct bpf_sock {
    u32 bound_dev_if;
    u32 family;
    u32 type;
    u32 protocol;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
    u32 inum;
};
struct net {
    struct ns_common ns;
};
typedef struct {
    struct net *net;
} possible_net_t;

struct in6_addr {
    union {
        u32 u6_addr32[4];
    } in6_u;
};

struct sock_common {
    u32 skc_daddr;
    u32 skc_rcv_saddr;
    u16 skc_dport;
    u16 skc_family;
    volatile u8 skc_state;
    unsigned long skc_flags;
    possible_net_t skc_net;
    struct in6_addr skc_v6_daddr;
    struct in6_addr skc_v6_rcv_saddr;
};

struct kernfs_node {
    u64 id;
};
struct cgroup {
    struct kernfs_node *kn;
};
struct sock_cgroup_data {
    struct cgroup *cgroup;
};

struct sock {
    struct sock_common __sk_common;
    u16 sk_protocol;
    int sk_err;
    int sk_err_soft;
    struct sock_cgroup_data sk_cgrp_data;
};
struct socket {
    struct sock *sk;
};

struct inet_sock {
    u16 inet_sport;
};
struct inet_connection_sock {
    struct inet_sock icsk_inet;
};
struct tcp_sock {
    struct inet_connection_sock inet_conn;
    u64 bytes_sent;
    u64 bytes_retrans;
    u64 bytes_received;
    u64 tcp_mstamp;
    u32 segs_out;
    u32 segs_in;
    u32 total_retrans;
    u32 srtt_us;
    u32 mdev_us;
};

struct nsproxy {
    struct net *net_ns;
};
struct task_struct {
    int tgid;
    struct nsproxy *nsproxy;
    struct task_struct *group_leader;
    char comm[16];
};
struct file;
struct seq_file;
struct bpf_map;

struct bpf_iter_meta {
    struct seq_file *seq;
};
/* Of these, members are as wide as the interface says, whatever a pointer is. */
#define POINTER(type, name) \
    union { \
        type name; \
        u64 : 64; \
    } __attribute__((aligned(8)))
struct bpf_iter__bpf_sk_storage_map {
    POINTER(struct bpf_iter_meta *, meta);
    POINTER(struct bpf_map *, map);
    POINTER(struct sock *, sk);
    POINTER(void *, value);
};
struct bpf_iter__bpf_map_elem {
    POINTER(struct bpf_iter_meta *, meta);
    POINTER(struct bpf_map *, map);
    POINTER(void *, key);
    POINTER(void *, value);
};
struct bpf_iter__task_file {
    POINTER(struct bpf_iter_meta *, meta);
    POINTER(struct task_struct *, task);
    u32 fd __attribute__((aligned(8)));
    POINTER(struct file *, file);
};

#pragma clang attribute pop

/* Helpers of the kernel, by the numbers of linux/bpf.h. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;
static u64 (*const bpf_get_socket_cookie)(void *sk) = (void *)46;
static u64 (*const bpf_skb_cgroup_id)(struct __sk_buff *packet) = (void *)79;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *first, u64 flags) = (void *)107;
static long (*const bpf_seq_write)(struct seq_file *seq, const void *data, u32 bytes) = (void *)127;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 bytes, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static struct socket *(*const bpf_sock_from_file)(struct file *file) = (void *)162;
