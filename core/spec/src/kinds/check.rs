//! `check`: how a service says it is.

use super::enums::{CARDINALITY, STATUS};
use crate::types::Type;

crate::kind! {
    /// How a service is, as a client of it says.
    pub static CHECK = "check", time "time";
    TIME: "time", I64, Type::Time, "when it arrived", "";
    NAME: "name", Text, Type::Str, "name of the check", "";
    STATUS_: "status", U8, Type::Enum(&STATUS), "how it is", "";
    MESSAGE: "message", Text, Type::Str, "why", "";
    TIMESTAMP: "timestamp", I64, Type::Time, "when it was checked, where the client says", "";
    HOST: "host", Word, Type::Str, "host that it is about: empty for none, absent for this one", "host.name";
    TAGS: "tags", Tags, Type::Tags, "`key:value`, as sent", "";
    ORIGIN_PID: "origin.pid", I64, Type::INT, "process that sent it, as the kernel says", "process.pid";
    ORIGIN_CONTAINER: "origin.container", Word, Type::Str, "container that sent it: as its client or its cgroup says", "container.id";
    ORIGIN_POD: "origin.pod", Word, Type::Str, "uid of the pod that sent it", "k8s.pod.uid";
    ORIGIN_EXTERNAL: "origin.external", Word, Type::Str, "external data of the client, as sent", "";
    ORIGIN_CARDINALITY: "origin.cardinality", U8, Type::Enum(&CARDINALITY), "tag cardinality that the client asks for", "";
}
