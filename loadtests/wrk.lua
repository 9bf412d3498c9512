-- What wrk counted, exactly and on one line; only what runs after the load is here, so that the load costs the same.
done = function(summary)
  local errors = summary.errors
  io.write(string.format(
    '\n{"microseconds": %d, "requests": %d, "bytes": %d, "errors": %d}\n',
    summary.duration, summary.requests, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
