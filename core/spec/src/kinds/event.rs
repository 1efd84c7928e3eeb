//! `event`: something that a client says has happened.

use super::enums::{ALERT_TYPE, CARDINALITY, PRIORITY};
use crate::types::Type;

crate::kind! {
    /// Something that happened, in words for people.
    pub static EVENT = "event", time "time";
    TIME: "time", I64, Type::Time, "when it arrived", "";
    TITLE: "title", Text, Type::Str, "what happened", "";
    TEXT: "text", Text, Type::Str, "the same in full", "";
    TIMESTAMP: "timestamp", I64, Type::Time, "when it happened, where the client says", "";
    PRIORITY_: "priority", U8, Type::Enum(&PRIORITY), "`normal` or `low`", "";
    ALERT_TYPE_: "alert_type", U8, Type::Enum(&ALERT_TYPE), "how grave it is", "";
    AGGREGATION_KEY: "aggregation_key", Text, Type::Str, "what it is grouped by", "";
    SOURCE_TYPE: "source_type", Word, Type::Str, "what kind of system says so", "";
    HOST: "host", Word, Type::Str, "host that it is about: empty for none, absent for this one", "host.name";
    TAGS: "tags", Tags, Type::Tags, "`key:value`, as sent", "";
    ORIGIN_PID: "origin.pid", I64, Type::INT, "process that sent it, as the kernel says", "process.pid";
    ORIGIN_CONTAINER: "origin.container", Word, Type::Str, "container that sent it: as its client or its cgroup says", "container.id";
    ORIGIN_POD: "origin.pod", Word, Type::Str, "uid of the pod that sent it", "k8s.pod.uid";
    ORIGIN_EXTERNAL: "origin.external", Word, Type::Str, "external data of the client, as sent", "";
    ORIGIN_CARDINALITY: "origin.cardinality", U8, Type::Enum(&CARDINALITY), "tag cardinality that the client asks for", "";
}
