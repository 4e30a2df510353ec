-- What publishing and settling have in common.

-- Raises if one of these keys holds something else than it must.  Nothing is undone when a script
-- fails, so that this comes before the first write.
local function check_types(first, last, kind)
  for at = first, last do
    local found = redis.call('TYPE', KEYS[at])['ok']
    if found ~= kind and found ~= 'none' then
      error('WRONGTYPE ' .. KEYS[at] .. ' holds a ' .. found .. ', not a ' .. kind)
    end
  end
end

-- Where the keys of each kind begin among KEYS, less one: streams, delayed sets, all else.
local first_stream, first_set, first_other

-- Puts one message where it belongs.
--   stream: place of its stream among the streams
--   packed: the message
--   special: '' for most; else "delayed-set due once-key temporary member-head", the keys by their
--     places, 0 for none
-- Returns the delayed set's key and the member, if it went there.
local function enqueue(stream, packed, special, now, once_ms)
  if special == '' then
    redis.call('XADD', KEYS[first_stream + stream], '*', 'm', packed)
    return
  end
  local delayed, due, once, temporary, head =
    string.match(special, '^(%d+) (%d+) (%d+) (%d) (.*)$')
  if once ~= '0' and not redis.call('SET', KEYS[first_other + once], '', 'PX', once_ms, 'NX') then
    return
  end
  if delayed ~= '0' and due + 0 > now then
    local member = head .. packed
    redis.call('ZADD', KEYS[first_set + delayed], due, member)
    return KEYS[first_set + delayed], member
  end
  if temporary == '1' then
    -- The queue is gone if its owner is: nobody makes it again.
    redis.call('XADD', KEYS[first_stream + stream], 'NOMKSTREAM', '*', 'm', packed)
  else
    redis.call('XADD', KEYS[first_stream + stream], '*', 'm', packed)
  end
end

-- Tells idle workers of a queue if one of these members is now the first to become due.
local function tell_of_first(added, channels)
  for delayed, members in pairs(added) do
    local first = redis.call('ZRANGE', delayed, 0, 0)[1]
    if members[first] then
      redis.call('PUBLISH', channels[delayed], '')
    end
  end
end
