//! `metric`: what a client measured, before anything is added up.

use super::enums::{CARDINALITY, METRIC_KIND};
use crate::types::Type;

crate::kind! {
    /// One message of a metrics client: one or several values of one context.
    pub static METRIC = "metric", time "time";
    TIME: "time", I64, Type::Time, "when it arrived", "";
    NAME: "name", Text, Type::Str, "name of the metric", "metric.name";
    KIND: "kind", U8, Type::Enum(&METRIC_KIND), "how values of one context are put together", "";
    VALUES: "values", FloatList, Type::List(&Type::FLOAT), "the values; of a set none", "";
    MEMBERS: "members", TextList, Type::List(&Type::Str), "members of a set", "";
    SAMPLE_RATE: "sample_rate", F64, Type::FLOAT, "the part of all samples that was sent; each stands for 1/rate", "";
    TIMESTAMP: "timestamp", I64, Type::Time, "when it was measured, where the client says", "";
    UNIT: "unit", Word, Type::Str, "unit of the values, where it is known", "";
    HOST: "host", Word, Type::Str, "host that it is about: empty for none, absent for this one", "host.name";
    TAGS: "tags", Tags, Type::Tags, "`key:value`, as sent", "";
    ORIGIN_PID: "origin.pid", I64, Type::INT, "process that sent it, as the kernel says", "process.pid";
    ORIGIN_CONTAINER: "origin.container", Word, Type::Str, "container that sent it: as its client or its cgroup says", "container.id";
    ORIGIN_POD: "origin.pod", Word, Type::Str, "uid of the pod that sent it", "k8s.pod.uid";
    ORIGIN_EXTERNAL: "origin.external", Word, Type::Str, "external data of the client, as sent", "";
    ORIGIN_CARDINALITY: "origin.cardinality", U8, Type::Enum(&CARDINALITY), "tag cardinality that the client asks for", "";
}
