-- How the members of a chord are counted: in a hash, by their places, so that none counts twice.

-- Keeps what a member contributes; returns how many have.  ttl: milliseconds, '0' for ever.
local function add_part(key, place, payload, ttl)
  redis.call('HSETNX', key, place, payload)
  if ttl ~= '0' then
    redis.call('PEXPIRE', key, ttl)
  end
  return redis.call('HLEN', key)
end
