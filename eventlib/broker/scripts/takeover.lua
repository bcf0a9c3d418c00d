-- How entries are taken over from silent consumers. This is not a script of its own: it stands before scripts that
-- sweep.

-- Whether an entry may be what ends its consumers: it was taken over before, or this is its last attempt. As
-- `policy.is_suspect`; `deliveries` counts the takeover.
local function is_suspect(attempts, deliveries, attempts_max)
  return deliveries > 2 or (tonumber(attempts) or 0) + deliveries >= attempts_max
end

local function deliveries_of(stream, group, id)
  return redis.call('XPENDING', stream, group, id, id, 1)[1][4]
end

-- Claim entries that were idle for a lease. XAUTOCLAIM looks at 10 x `count` entries a call: field `at` of the sweep
-- hash is where the last sweep stopped, and this one goes on. Returns the entries, and whether there may be more.
local function claim_idle(stream, sweep, at, group, consumer, lease, count)
  local from, reply, looks = redis.call('HGET', sweep, at) or '0-0', nil, 0
  repeat
    reply = redis.call('XAUTOCLAIM', stream, group, consumer, lease, from, 'COUNT', count)
    from, looks = reply[1], looks + 1
  until #reply[2] > 0 or from == '0-0' or looks == 20 -- so that other clients are served soon
  redis.call('HSET', sweep, at, from)
  return reply[2], from ~= '0-0'
end

-- When the group may be swept next. A time rounded up would be too late for a sweep that follows at once.
local function next_sweep(sweep, at)
  redis.call('HSET', sweep, 'due', string.format('%.0f', math.floor(at)))
end

-- Consumers that ended without leaving keep their names: delete those that hold nothing and have long been silent.
local function forget_silent(stream, group, consumer, lease)
  local forgotten = 0
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if info[4] == 0 and info[6] > 10 * lease and info[2] ~= consumer and forgotten < 500 then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, info[2])
      forgotten = forgotten + 1
    end
  end
end

