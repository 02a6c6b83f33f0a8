-- Argo CD's health of the kinds of amplify-operator.dev: one script for all of them.
-- The status is in kstatus format, with observedGeneration. Only the base library is needed.
local ready = nil
local stalled = false
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Ready" then
      ready = condition
    elseif condition.type == "Stalled" and condition.status == "True" then
      stalled = true
    end
  end
end

local hs = {}
if ready == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for amplify-operator to see this resource"
elseif obj.spec.suspend == true and ready.reason == "Suspended" then
  -- Also if an edit waits for the end of the suspension.
  hs.status = "Suspended"
  hs.message = ready.message
elseif obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for amplify-operator to see the latest change"
else
  if stalled then
    hs.status = "Degraded"
  elseif ready.status == "True" then
    hs.status = "Healthy"
  else
    hs.status = "Progressing"
  end
  hs.message = ready.reason .. ": " .. ready.message
end

-- Argo CD 3.6 and newer show this. Older versions show "Pending deletion" and run no script.
if obj.metadata.deletionTimestamp ~= nil then
  if hs.status == "Healthy" then
    hs.status = "Progressing"
  end
  hs.deletionMessage = hs.message
  hs.message = nil
end
return hs
