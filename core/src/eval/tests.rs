use super::*;
use weir_spec::arithmetic::arithmetic;
use weir_spec::expr::{Arithmetic, Comparison};

fn schema(fields: &[(&str, Type)]) -> Schema {
    let fields = fields.iter().map(|(n, t)| weir_spec::Field::new(*n, t.clone())).collect();
    Schema { fields }
}

fn run(expr: Expr, fields: &[(&str, Type)], columns: Vec<ArrayRef>) -> (ArrayRef, Arc<Counts>) {
    let schema = schema(fields);
    let rows = RecordBatch::try_new(columns::arrow_schema(&schema), columns).unwrap();
    let counts = Arc::new(Counts::default());
    (Compiled::new(&expr, &schema, &counts).eval(&rows), counts)
}

fn binary(op: Arithmetic, a: Expr, b: Expr) -> Expr {
    arithmetic(op, a, b).unwrap()
}

#[test]
fn division_by_zero_and_overflow_are_absent_and_counted() {
    let fields = [("a", Type::INT), ("b", Type::INT)];
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(6), Some(1), None, Some(i64::MAX)]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), Some(0), Some(1), Some(2)]));
    let (col, col2) = (Expr::column("a", Type::INT), Expr::column("b", Type::INT));
    let divided = binary(Arithmetic::Divide, col.clone(), col2.clone());
    let (out, counts) = run(divided, &fields, vec![a.clone(), b.clone()]);
    let out = cast::<Float64Array>(&out);
    assert_eq!((out.value(0), out.is_null(1), out.is_null(2)), (1.5, true, true));
    let mut accounts = crate::ledger::Accounts::default();
    accounts.open("x", "set");
    assert_eq!(counts.rest(), 0);
    let product = binary(Arithmetic::Multiply, col, col2);
    let (out, _) = run(product, &fields, vec![a, b]);
    assert!(out.is_null(3));
}

#[test]
fn sizes_over_durations_are_bytes_a_second() {
    let fields = [("n", Type::SIZE), ("t", Type::DURATION)];
    let n: ArrayRef = Arc::new(Int64Array::from(vec![3000]));
    let t: ArrayRef = Arc::new(Int64Array::from(vec![1_500_000_000]));
    let (col, col2) = (Expr::column("n", Type::SIZE), Expr::column("t", Type::DURATION));
    let (out, _) = run(binary(Arithmetic::Divide, col, col2), &fields, vec![n, t]);
    assert_eq!(cast::<Float64Array>(&out).value(0), 2000.0);
}

/// What is no number is above none and equal to none, and there is one zero.
#[test]
fn floats_are_compared_as_ieee_754_has_it() {
    let fields = [("a", Type::FLOAT)];
    let numbers = || -> ArrayRef { Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.0), None, Some(2.0)])) };
    let held = |node: Node| {
        let (out, _) = run(Expr { node, ty: Type::Bool }, &fields, vec![numbers()]);
        let out = cast::<BooleanArray>(&out).clone();
        out.iter().collect::<Vec<_>>()
    };
    let with = |op: Comparison, number: f64| {
        let (numbers, number) = (Expr::column("a", Type::FLOAT), Expr::literal(Value::Float(number)));
        held(Node::Compare(op, Box::new(numbers), Box::new(number)))
    };
    assert_eq!(with(Comparison::Greater, 1.0), [Some(false), Some(false), None, Some(true)]);
    assert_eq!(with(Comparison::Less, 0.0), [Some(false), Some(false), None, Some(false)]);
    assert_eq!(with(Comparison::Equal, 0.0), [Some(false), Some(true), None, Some(false)]);
    assert_eq!(with(Comparison::NotEqual, 2.0), [Some(true), Some(true), None, Some(false)]);
}

#[test]
fn several_values_match_if_any_does() {
    let fields = [("v", Type::List(&Type::INT))];
    let lists = columns::int_lists(vec![0, 2, 3, 3], vec![10, 20, 30]);
    let col = Expr::column("v", Type::List(&Type::INT));
    let compare = |op| Expr {
        ty: Type::Bool,
        node: Node::Compare(op, Box::new(col.clone()), Box::new(Expr::literal(Value::Int(20)))),
    };
    let (equal, _) = run(compare(Comparison::Equal), &fields, vec![lists.clone()]);
    let equal = cast::<BooleanArray>(&equal).iter().collect::<Vec<_>>();
    assert_eq!(equal, [Some(true), Some(false), None]);
    let (other, _) = run(compare(Comparison::NotEqual), &fields, vec![lists.clone()]);
    let other = cast::<BooleanArray>(&other).iter().collect::<Vec<_>>();
    assert_eq!(other, [Some(false), Some(true), None]);
    let inside = Expr { ty: Type::Bool, node: Node::In(Box::new(col), vec![Value::Int(30)]) };
    let (inside, _) = run(inside, &fields, vec![lists]);
    let inside = cast::<BooleanArray>(&inside).iter().collect::<Vec<_>>();
    assert_eq!(inside, [Some(false), Some(true), None]);
}

#[test]
fn addresses_are_found_in_networks() {
    let fields = [("ip", Type::Ip)];
    let ips = columns::ips(vec![weir_spec::value::ipv4([10, 1, 2, 3]), weir_spec::value::ipv4([8, 8, 8, 8])], None);
    let set = vec![Value::Cidr(weir_spec::value::Cidr::parse("10.0.0.0/8").unwrap())];
    let node = Node::In(Box::new(Expr::column("ip", Type::Ip)), set);
    let (out, _) = run(Expr { ty: Type::Bool, node }, &fields, vec![Arc::new(ips)]);
    let out = cast::<BooleanArray>(&out).iter().collect::<Vec<_>>();
    assert_eq!(out, [Some(true), Some(false)]);
}
