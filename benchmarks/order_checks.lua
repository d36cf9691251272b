-- wrk's half of benchmarks/order_checks.py: an order check with an id of its own a request, or GET /health without a key.
-- Arguments: the key, the ids' prefix, a file with lines "ACCOUNT CONTRACT QUANTITY".

local key, prefix, orders, number = "", "", {}, 0

function init(args)
  key, prefix = args[1] or "", args[2] or ""
  if args[3] then
    for line in io.lines(args[3]) do
      local account, contract, quantity = line:match("(%S+) (%S+) (%S+)")
      orders[#orders + 1] = { account, contract, quantity }
    end
  end
end

function request()
  if key == "" then
    return wrk.format("GET", "/health")
  end
  number = number + 1
  local order, id = orders[(number - 1) % #orders + 1], prefix .. "-" .. number
  local body = string.format('{"order_id":"%s","contract":"%s","quantity":"%s"}', id, order[2], order[3])
  local headers = {
    ["Authorization"] = "Bearer " .. key,
    ["Idempotency-Key"] = id,
    ["Content-Type"] = "application/json",
  }
  return wrk.format("POST", "/v1/accounts/" .. order[1] .. "/orders/check", headers, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answered": %d, "seconds": %f, "refused": %d, "latency": {"p50": %d, "p99": %d, "p99.9": %d, "worst": %d}}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) * 1000, latency:percentile(99) * 1000, latency:percentile(99.9) * 1000, latency.max * 1000
  ))
end
