-- Keeps results and tells whoever waits.
--
-- KEYS     the results' keys
-- ARGV[1]  milliseconds that they are kept; 0 for ever
-- then     for each its state and the value
for _, key in ipairs(KEYS) do
  local problem = refused(key)
  if problem then
    return redis.error_reply(problem)
  end
end
for at, key in ipairs(KEYS) do
  store(key, ARGV[2 * at], ARGV[2 * at + 1], ARGV[1])
end
return #KEYS
