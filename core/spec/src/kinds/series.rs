//! `series`: one point of one time series, after aggregation.

use super::enums::SERIES_KIND;
use crate::types::Type;

crate::kind! {
    /// One point of one time series: a number, or a sketch of many.
    pub static SERIES = "series", time "time";
    TIME: "time", I64, Type::Time, "when its interval begins", "";
    INTERVAL: "interval", I64, Type::DURATION, "what a rate is over, and how often a point comes", "";
    NAME: "name", Text, Type::Str, "name of the metric", "metric.name";
    KIND: "kind", U8, Type::Enum(&SERIES_KIND), "what the number is", "";
    VALUE: "value", F64, Type::FLOAT, "the number; absent with a sketch", "";
    SKETCH_: "sketch", Sketch, Type::Sketch, "of the values, where quantiles are wanted", "";
    UNIT: "unit", Word, Type::Str, "unit of the values, where it is known", "";
    HOST: "host", Word, Type::Str, "host that it is about: empty for none, absent for this one", "host.name";
    TAGS: "tags", Tags, Type::Tags, "`key:value`, sorted, without duplicates", "";
}
